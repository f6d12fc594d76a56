"""The engine: it stores facts, reads rule pages and judges. It knows neither how facts are found nor what is wrong."""

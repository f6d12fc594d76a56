"""Collectors: each looks at one thing and fills its tables. `tables.py` declares every table once."""

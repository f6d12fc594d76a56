"""What transformers and accelerate make of the DeepSpeed file before DeepSpeed sees it."""

"""lorachk: preflight check and config linter for LoRA fine-tuning."""

__version__ = "0.1.0"

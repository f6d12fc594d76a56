"""What is left of a record: rendered as the trainer renders it, tokenised, masked and cut at the token limit."""

"""The rehearsal: miniature models, real training steps, the saved adapter."""

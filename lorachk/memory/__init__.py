"""The VRAM model: states, activations, buffers, allocator, plan."""

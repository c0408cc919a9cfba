"""llama.cpp as a batched, contrastive engine in a process of its own."""

"""Stage 3: contrastive training of the sentence encoder."""

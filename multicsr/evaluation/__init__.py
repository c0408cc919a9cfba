"""What an encoder is measured on."""

"""What mining and training share: the encoder, its pooling, its settings, and its export."""

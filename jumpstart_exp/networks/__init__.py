"""Networks in plain torch.nn."""

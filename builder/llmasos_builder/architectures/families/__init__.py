"""What distinguishes each family of checkpoints: its config and its tensors' names."""

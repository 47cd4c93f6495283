"""The repositories that one server serves, as it finds them and as Triton is to read them."""

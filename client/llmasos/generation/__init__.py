"""The methods that all four classes for generating text share, their streams and transports."""

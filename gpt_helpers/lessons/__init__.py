"""What single lessons measure and draw; nothing else in the package needs it."""

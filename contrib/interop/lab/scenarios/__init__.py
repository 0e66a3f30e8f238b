"""What is tried between two servers, or against one that means harm."""

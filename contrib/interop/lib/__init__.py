"""What the scenarios stand on: a small internet on loopback, servers, clients, and the record of steps."""

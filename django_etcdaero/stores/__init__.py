"""Where stores are: addresses as typed values, and how they are written as URLs. Imports no client."""

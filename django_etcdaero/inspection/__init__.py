"""What operators look at, for pages and commands alike: read from the stores within a deadline, whatever is down."""

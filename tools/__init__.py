"""What the project needs and its users do not: the documentation's generated parts."""

"""Will this flight arrive more than 15 minutes late? Two models, and two web apps that ask one of them."""

"""What Discord shows of dreams: cards that form, and the buttons on them."""

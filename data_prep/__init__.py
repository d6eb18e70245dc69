"""Raw sources to prepared datasets: toy worlds drawn here, emoji, and a user's own folder of captioned pictures."""

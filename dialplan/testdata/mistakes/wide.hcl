dialplan "acme" {}
user "alice" {
	display = "éè", extension = 5
}

user "alice" { extension = "201" }

dialplan "acme" {}
user "alice" {
  display = <<EOT
Alice
EOT
}

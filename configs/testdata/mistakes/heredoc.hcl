node {
  name = <<EOT
x
EOT
}

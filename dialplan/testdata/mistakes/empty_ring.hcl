dialplan "acme" {}
ring "sales" {
  extension = "200"
  members   = []
}
ring "nobody" {
  extension = "210"
}

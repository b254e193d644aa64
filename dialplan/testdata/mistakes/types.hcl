dialplan "acme" {
  format  = "1"
  domains = "acme.example"
  country = 44
}
user "alice" {
  extension = 201
  groups    = [staff, "intl"]
}
user "bob" {
  extension = 0112
  display   = user.alice
}
ring "sales" {
  extension = "200"
  members   = user.alice
  timeout   = 20
  otherwise { go = "user.alice" }
}
ring "more" {
  extension = "210"
  members   = ["alice"]
  timeout   = null
  otherwise { go = [user.alice] }
}

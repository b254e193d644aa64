dialplan "acme" {
  domain = ["acme.example"]
}
user "alice" {
  extention = "201"
  colour    = "red"
}
ring "sales" {
  extension = "200"
  member    = [user.alice]
  otherwise = user.alice
  extension_ { }
}

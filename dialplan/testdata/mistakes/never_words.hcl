dialplan "acme" {}
user "alice" { extension = "201" }
never "a" {
  from = "dids"
  to   = user.alise
}
never "a" {
  from = "did"
  to   = "user"
}
never "b" {
  from = 5
  to   = []
}
never "c" {
  from = ["did", 5]
  to   = open("x") ? user.alice : user.alice
}

dialplan "acme" {}
user "alice" {
  extension = "20" + 1
  groups    = [for g in ["a"] : g]
  display   = upper("alice")
}
user "bob" {
  extension = user.alice.extension
  groups    = user.*.groups
  display   = "x"[0]
}
locals { a = 1 }

dialplan "acme" {}
user "alice" { extension = "201" }
test "nobody" {
  call   = { from = user.bob, to = "201" }
  given  = { "user.alcie" = 486 }
  expect = [user.alise]
}

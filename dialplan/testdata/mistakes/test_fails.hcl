dialplan "acme" {}
user "alice" { extension = "201" }
user "bob" { extension = "202" }
ring "sales" {
  extension = "200"
  members   = [user.alice, user.bob]
  otherwise { go = user.alice }
}
test "sales rings first" {
  call   = { from = user.bob, to = "200" }
  given  = { "ring.sales" = 408 }
  expect = [ring.sales, user.bob]
}
test "alice is 202" {
  call    = { from = user.bob, to = "202" }
  expect  = [user.alice]
  dialled = "+44202"
}
test "there is no 999" {
  call   = { from = user.bob, to = "999" }
  expect = [user.alice]
}

dialplan "acme" {}
user "alice" { extension = "201" }
test "fields" {
  call   = { form = user.alice, to = 201 }
  expect = [user.alice]
}
test "outside" {
  call   = { from = "02079460000", to = "201" }
  expect = [user.alice]
}
test "nobody" {
  call   = { from = user.bob, to = "201" }
  given  = { "user.alcie" = 486, "alice" = 486, "user.alice" = 100 }
  expect = [user.alise]
}
test "time" {
  at     = "tomorrow"
  call   = { from = user.alice, to = "201" }
  expect = user.alice
}
test "empty" {}

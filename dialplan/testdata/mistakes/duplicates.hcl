dialplan "acme" { domains = ["acme.example", "ACME.example."] }
user "alice" { extension = "201" }
user "alice" { extension = "202" }
user "bob" { extension = "201" }
user "203" {}
echo "test" { extension = "203" }
music "hold" { extension = "201" }
ring "sales" {
  extension = "200"
  members   = [user.alice, user.bob, user.alice]
  otherwise { go = user.bob }
}
test "one" {
  call   = { from = user.alice, to = "203" }
  expect = [user.203]
}
test "one" {
  call   = { from = user.alice, to = "203" }
  expect = [user.203]
}

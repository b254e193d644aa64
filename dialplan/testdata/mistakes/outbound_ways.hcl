dialplan "acme" { country = "44" }
user "alice" { extension = "201" }
trunk "in_only" {
  in { from = ["198.51.100.7"] }
}
trunk "b" { hosts = ["192.0.2.1"] }
did "+442079460000" { go = emergency.uk }
did "+442079460001" { go = trunk.in_only }
feature "f" {
  extension = "101"
  go        = trunk.b
}
outbound "a" {
  match = ["+44*", "+44*", "101", "201*"]
  via   = [trunk.in_only]
}
emergency "uk" {
  numbers  = ["999"]
  via      = [trunk.b]
  location = "here"
}
test "help" {
  call   = { from = user.alice, to = "999" }
  expect = [emergency.uk, trunk.b]
}

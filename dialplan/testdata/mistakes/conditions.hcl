dialplan "acme" {}
calendar "office" { open = ["mon-fri 09:00-17:30"] }
user "alice" { extension = "201" }
feature "a" {
  extension = "*1"
  go        = open("ofice") ? user.alice : user.bob
}
feature "b" {
  extension = "*2"
  go        = closed("office") ? user.alice : "user.alice"
}
feature "c" {
  extension = "*3"
  go        = open(office) ? user.alice : user.alice
}
feature "d" {
  extension = "*4"
  go        = open("office", "shop") ? user.alice : user.alice
}
feature "e" {
  extension = "*5"
  go        = open("office")
}
feature "f" {
  extension = "*6"
  go        = "x" == "y" ? user.alice : user.alice
}

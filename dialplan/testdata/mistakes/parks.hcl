dialplan "acme" {}
user "alice" { extension = "705" }
park "one" {
  extension = "700"
  slots     = "701"
  timeout   = "2"
}
park "two" { slots = "0001-9999" }
park "three" { slots = "704-706" }
park "four" {
  slots = "710-711"
  music = "musik"
}
park "five" { slots = "711-712" }
park "six" { extension = "720" }
page "nobody" {
  extension = "800"
  members   = []
}
page "odd" {
  extension   = "801"
  members     = [user.alice, park.one, user.alice, user.bob]
  max_members = 500
  talk        = "yes"
}

dialplan "acme" {}
calendar "night" { open = ["20:00-06:00"] }
user "alice" {
  extension = "201"
  forward { busy = feature.away }
}
feature "away" {
  extension = "*9"
  go        = open("night") ? reject.closed : user.alice
}
reject "closed" {}

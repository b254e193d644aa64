dialplan "acme" {}
user "alice" { extension = "201" }
menu "main" {
  extension = "0"
  play      = "welcom"
  wait      = "2m"
  retries   = 20
  wrong     = "../x"
  key "1" { go = user.alice }
  key "1" { go = user.alice }
  key "a" { go = user.alice }
  key "3" {}
  key "4" { go = menu.mian }
}
menu "empty" {
  extension = "1"
  otherwise { go = user.alice }
}
menu "loop" {
  extension = "2"
  key "1" { go = menu.loop }
  otherwise { go = menu.again }
}
menu "again" {
  key "1" { go = user.alice }
  otherwise { go = menu.loop }
}

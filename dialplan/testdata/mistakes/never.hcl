dialplan "acme" {}
user "alice" { extension = "201" }
user "boss" {
  extension = "202"
}
did "+442079460000" { go = menu.main }
menu "main" {
  key "1" { go = ring.sales }
  key "2" { go = menu.more }
  otherwise { go = reject.bye }
}
menu "more" {
  dial = true
  otherwise { go = reject.bye }
}
ring "sales" {
  members = [user.alice, user.boss]
  otherwise { go = reject.bye }
}
reject "bye" {}
never "strangers ring the boss" {
  from = "did"
  to   = user.boss
}
never "sales goes back to the menu" {
  from = ring.sales
  to   = ["menu"]
}
never "strangers hear that we are gone" {
  from = [did["+442079460000"], "feature"]
  to   = reject.bye
}
never "by its extension only" {
  from = menu.more
  to   = ring.sales
}
never "whom the second menu dials" {
  from = menu.more
  to   = "user"
}

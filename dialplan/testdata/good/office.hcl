dialplan "acme" {
  timezone = "Europe/London"
  country  = "44"
}
user "alice" {
  extension = "201"
  timeout   = "25s"
  forward {
    busy      = user.bob
    no_answer = !open("office") ? reject.closed : ring.sales
  }
  otherwise { go = user.carol }
}
user "bob" {
  extension = "202"
  dnd       = true
}
user "carol" {
  extension = "203"
  dnd       = true
  forward { busy = user.dave }
}
user "dave" {
  extension = "204"
  forward { always = ring.sales }
}
user "erin" { extension = "205" }
calendar "office" {
  open     = ["mon-fri 09:00-17:30", "2026-12-24 09:00-12:00"]
  closed   = ["fri 16:00-17:30"]
  holidays = "GB"
}
calendar "night" { open = ["mon-fri 22:00-06:00"] }
ring "sales" {
  extension = "200"
  members   = [user.bob, user.alice, user.erin]
  delays    = { "user.erin" = "10s" }
  skip_busy = true
  otherwise { go = reject.closed }
}
reject "closed" {
  status = 480
  reason = "the office is closed"
}
did "+442079460000" {
  label = "Main number"
  go    = open("office") ? ring.sales : open("night") ? user.erin : reject.closed
}
feature "night" {
  extension = "*55"
  go        = open("office") || open("night") ? user.erin : reject.closed
}
feature "late" {
  extension = "*56"
  go        = !(open("office") && open("night")) ? user.erin : reject.closed
}

dialplan "acme" {}
calendar "office" { open = ["mon-fri 09:00-17:30"] }
user "alice" { extension = "201" }
reject "closed" {}
did "+442079460000" { go = open("office") ? user.alice : reject.closed }
test "in the morning" {
  call   = { from = "+442079460999", to = "+442079460000" }
  expect = [user.alice]
}
test "on Sunday" {
  at     = "2026-11-22 10:00"
  call   = { from = "+442079460999", to = "+442079460000" }
  expect = [user.alice]
}

dialplan "acme" { country = "44" }
user "alice" {
  extension = "201"
  caller    = "020 7946 0201"
}
trunk "a" {
  register  = "acme@sbc.example"
  expires   = "25h"
  hosts     = ["sip:sbc.example", "sbc.example:99999", "198.51.100.7", "198.51.100.7"]
  transport = "tsl"
  channels  = 0
  srtp      = "on"
  codecs    = ["PCMA", "PCMA", "pcmu"]
  caller_id = "mine"
  rates     = { "+44" = 1, "abc" = "1", "+44" = "0.01", "44" = "0.02", "+1" = "1,5" }
  shared    = ["other"]
  out { rewrite = { "+44" = 0, "x" = "", "+" = "y", "1" = "2", "1" = "3" } }
  out {}
  in {
    from = ["198.51.100.7/24", "sbc.example"]
    user = "x"
  }
}
trunk "b" {
  hosts  = ["192.0.2.1"]
  secret = "x"
}
trunk "c" {
  hosts = ["192.0.2.2"]
  user  = "c"
}
outbound "a" {
  match   = ["+44", "+0*", "0044*", "+1234567890123456*", "*", "4x", ""]
  allow   = ["staff", "no such name"]
  via     = [trunk.b, trunk.b, user.alice]
  go      = user.alice
  next    = [200, 503, 503, "no_reply 60s", "no_reply 4s", trunk.b]
  timeout = "1h"
}
outbound "b" {
  match = []
  via   = []
}
outbound "c" {
  allow  = ["staff"]
  go     = user.alice
  caller = "+442079460000"
  otherwise { go = user.alice }
}
outbound "d" { match = ["+1*"] }
number "x" { dial = "020 7946 0999" }
number "y" { dial = "110" }
emergency "uk" {
  numbers = ["999", "+44999", ""]
  via     = [user.alice]
  notify  = ["security"]
}
emergency "none" {
  numbers = []
  via     = []
}
limits "x" {
  to      = [user.alice]
  calls   = 0
  minutes = 99999999
  money   = "a lot"
}
limits "x" { calls = 1 }
test "in" {
  call   = { from = user.alice, to = "201", over = trunk.b }
  given  = { "trunk.b" = "dead", "user.alice" = "down" }
  expect = [user.alice]
}
test "over" {
  call   = { from = "+442079460000", to = "201", over = user.alice }
  expect = []
}

dialplan "acme" {}
conference "a" {
  extension   = "8000"
  max_members = 1
  music       = "musik"
  timeout     = "forever"
}
conference "b" {
  extension   = "8001"
  max_members = "20"
  music       = "/srv/sounds/hold.mp3"
  record      = "yes"
  announce    = 1
  pins        = "1234"
}
conference "short" { pin = "12" }
conference "words" {
  pin    = "12a4"
  prompt = "acme/pin"
}
conference "mute" {
  pin    = "1234"
  prompt = "musik"
}
conference "open" { prompt = "acme/pin" }
conference "c" {
  extension = "8000"
  otherwise { go = conference.d }
}

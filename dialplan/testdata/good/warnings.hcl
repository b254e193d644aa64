dialplan "acme" {}
user "alice" {
  extension = "201"
  groups    = ["staff", "staff"]
}
ring "sales" {
  extension = "200"
  members   = [user.alice]
}
music "forgotten" {}
ring "lost" {
  members = [user.alice]
  otherwise { go = echo.also_lost }
}
echo "also_lost" {}
calendar "never" {}

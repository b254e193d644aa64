dialplan "acme" {
  timezone = "new york"
}

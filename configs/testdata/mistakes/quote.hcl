sip {
  advertise = "203.0.113.10
}

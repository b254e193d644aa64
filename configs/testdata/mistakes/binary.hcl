sip {
  advertise = "ÿ"
}

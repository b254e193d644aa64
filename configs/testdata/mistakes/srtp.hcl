media {
  srtp = "prefered"
}

"""What the media plane is compared with: other servers, as small as they can be, behind the same WHIP endpoint."""

"""The tables behind the dataset: the place where people edit."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models


class Country(models.Model):
    """A country by its ISO 3166 code."""

    code = models.CharField(
        max_length=2,
        primary_key=True,
        validators=[RegexValidator(r"^[A-Z]{2}\Z", "Two capital letters (ISO 3166-1 alpha-2).")],
    )
    name = models.CharField(max_length=100)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "countries"

    def __str__(self) -> str:
        return self.name

    @property
    def flag(self) -> str:
        """The flag as an emoji: a pair of regional indicator letters."""
        return "".join(chr(0x1F1E6 + ord(letter) - ord("A")) for letter in self.code)


class City(models.Model):
    """A city; ``id`` is its number at geonames.org."""

    name = models.CharField(max_length=100, db_index=True)
    ascii_name = models.CharField("ASCII name", max_length=100, blank=True)
    country = models.ForeignKey(Country, on_delete=models.PROTECT, related_name="cities")
    population = models.PositiveIntegerField(default=0, db_index=True)
    latitude = models.FloatField(validators=[MinValueValidator(-90.0), MaxValueValidator(90.0)])
    longitude = models.FloatField(validators=[MinValueValidator(-180.0), MaxValueValidator(180.0)])
    timezone = models.CharField("time zone", max_length=50, help_text="A name such as Europe/Berlin.")
    alternate_names = models.TextField(blank=True, help_text="One name on each line.")

    class Meta:
        ordering = ["-population", "name"]
        verbose_name_plural = "cities"

    def __str__(self) -> str:
        return self.name

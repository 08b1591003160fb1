"""Tables that Django makes, and a view that it reads: managed = False."""
from django.db import models


class Sale(models.Model):
    region = models.TextField()
    amount = models.DecimalField(max_digits=10, decimal_places=2)


class SalesByRegion(models.Model):
    region = models.TextField(primary_key=True)
    sales = models.BigIntegerField()
    total = models.DecimalField(max_digits=20, decimal_places=2)

    class Meta:
        managed = False
        db_table = "sales_by_region"
